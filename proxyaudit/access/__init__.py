"""The restricted tier: encrypted to named recipients, and a log of every opening."""
