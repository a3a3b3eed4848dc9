"""What predicts case after case: reading ahead, writing behind, records of both."""
