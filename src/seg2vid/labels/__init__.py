"""Label spaces and label maps: what classes mean, how ids are converted, fitted and checked."""
