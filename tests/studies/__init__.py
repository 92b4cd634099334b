"""Long studies behind the figures of the README and of the decision pages; ``python -m tests.studies --help``."""
