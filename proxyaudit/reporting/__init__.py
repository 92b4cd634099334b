"""Reports rendered from a pack: same pack, same bytes."""
