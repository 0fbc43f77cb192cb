"""Published results as data: the tables of paper and slides, and those of model zoos, with their sources."""
