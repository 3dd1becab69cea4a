"""What ``seg2vid prepare`` does: recordings → the shards, index and report of a dataset."""
