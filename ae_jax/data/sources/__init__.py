"""Where data come from: official archives, mirrors, packages, folders, users' functions."""
