"""Long studies behind the figures of the guides and of the decision pages; ``python -m tests.studies --help``."""
