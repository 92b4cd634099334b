"""What 'scan' reads: the attribute's directions in each model."""
