"""What knows nothing of autoencoders: errors, names of parts, ranges of options, files."""
