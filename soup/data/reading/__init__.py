"""One image from a file, an archive member or a row of a data set."""
