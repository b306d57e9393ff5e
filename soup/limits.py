"""The limits on files and models of others, and no code. docs/limits.md says what happens at each.

Each limit is far above what is in use. Read them as `limits.NAME`, so that a test can lower one.
"""

MIB = 1 << 20
GIB = 1 << 30

# What is read of others (soup/files.py, soup/config/yaml_text.py, soup/tracking/audit.py).
JSON_BYTES = 32 * MIB  # of a JSON file or text; headers of weights have a limit of their own
JSON_DEPTH = 64  # lists and tables in each other, in JSON and YAML
DIGITS = 20  # of a whole number in JSON: what 64 bits hold
YAML_BYTES = 4 * MIB  # a class map of 22,000 classes has 1 MB
YAML_VALUES = 1_000_000  # values and keys, each counted as often as an alias repeats it
HEADER_BYTES = 100_000_000  # of a safetensors file; the limit of the safetensors library
INDEX_BYTES = 512 * MIB  # of a .npy of held-out images; a mask of 67 million as 8-byte numbers
LIST_TEXT = 4096  # characters of a path, label or line of a list
TAG_TEXT = 100_000  # characters of a promotion's tag; MLflow's own limit

# A model that is built from a description.
MODEL_BYTES = 64 * GIB  # parameters and buffers; timm's largest model has 27 GB
MODEL_PARTS = 100_000  # modules, parameters and buffers; timm's largest models have 5,000
COMPUTED_BYTES = 2 * GIB  # buffers that no file holds, as tables of positions; timm has 0.2 GB
CLASSES = 1_000_000
IMAGE_SIDE = 4096  # pixels
DEPTH = 1000  # blocks of a stage
WIDTH = 1 << 20  # any other whole number in an argument
ITEMS = 1000  # numbers in a nested argument
TEXT = 1000  # characters of a class name, or of a text in an argument

# A checkpoint.
TENSORS = 250_000
TENSOR_NAME = 1000  # characters
GROWTH = 8  # times the bytes of a file that what is in it may take
SLACK = MIB  # bytes that may be added to that: a small file may grow more
PICKLE_BYTES = 64 * MIB  # of a file of torch.save, without its tensors
DIRECTORY_BYTES = 16 * MIB  # the table of contents of a zip file
VALUES = 10_000_000  # entries of the tables and lists in a file of torch.save

# A tar archive.
TAR_HEADER_BYTES = MIB  # of one header, which holds a long name
TAR_MEMBERS = 20_000_000
TAR_NAME = 1000  # bytes of a member's name
TAR_TABLE_BYTES = 4 * GIB  # of the index, in which each name takes as many bytes as the longest
LABEL_BYTES = 1 << 12  # of the label beside an image in an archive
DEVKIT_BYTES = 64 * MIB  # of ImageNet's development kit when it is unpacked

# A list of images.
LIST_BYTES = GIB  # of the file; of Parquet, of the columns that are read, unpacked
LIST_ROWS = 50_000_000
