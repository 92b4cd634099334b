"""What is kept of rows: how much of it, and how it goes again."""
