"""Limits on files and models from other people. docs/limits.md says what happens at each limit.

Each limit is far above ordinary sizes. Code reads `limits.NAME`, so that a test can lower a limit.
"""

MIB = 1 << 20
GIB = 1 << 30

# Texts and arrays (soup/files.py, soup/config/yaml_text.py, soup/tracking/audit.py).
JSON_BYTES = 32 * MIB  # of a JSON file or text, except headers of weights (HEADER_BYTES)
JSON_DEPTH = 64  # levels of nested lists and tables, in JSON and YAML
DIGITS = 20  # of a whole number in JSON: as many as 64 bits can hold
YAML_BYTES = 4 * MIB  # a class map of 22,000 classes has 1 MB
YAML_VALUES = 1_000_000  # values and keys, counted once for each alias
HEADER_BYTES = 100_000_000  # of a safetensors file; the limit of the safetensors library
INDEX_BYTES = 512 * MIB  # of held-out images in a .npy file: 67 million numbers of 8 bytes
LIST_TEXT = 4096  # characters of a path, label or line of a list
TAG_TEXT = 100_000  # characters of a promotion's tag; MLflow's own limit

# Answers of models that the `soup` command keeps (soup/evaluation/answer_store.py).
ANSWERS_GIB = 8.0

# A model that is built from a description.
MODEL_BYTES = 64 * GIB  # parameters and buffers; timm's largest model has 27 GB
MODEL_PARTS = 100_000  # modules, parameters and buffers; timm's largest models have 5,000
COMPUTED_BYTES = 2 * GIB  # buffers that are in no file, such as position tables; timm's have 0.2 GB
CLASSES = 1_000_000
IMAGE_SIDE = 4096  # pixels
DEPTH = 1000  # blocks of a stage
WIDTH = 1 << 20  # any other whole number in an argument
ITEMS = 1000  # numbers in a nested argument
TEXT = 1000  # characters of a class name, or of a text in an argument

# A checkpoint.
TENSORS = 250_000
TENSOR_NAME = 1000  # characters
GROWTH = 8  # largest size of unpacked or written content, as a multiple of the file's size
SLACK = MIB  # bytes allowed in addition to that multiple, for small files
PICKLE_BYTES = 64 * MIB  # of a file of torch.save, without its tensors
DIRECTORY_BYTES = 16 * MIB  # the table of contents of a zip file
DIGEST_CACHE_BYTES = MIB  # of the digests that are kept, 150 bytes each
VALUES = 10_000_000  # entries of the tables and lists in a file of torch.save

# A tar archive.
TAR_HEADER_BYTES = MIB  # of one header, which holds a long name
TAR_MEMBERS = 20_000_000
TAR_NAME = 1000  # bytes of a member's name
TAR_TABLE_BYTES = 4 * GIB  # of the index; each name takes as many bytes as the longest
LABEL_BYTES = 1 << 12  # of the label beside an image in an archive
DEVKIT_BYTES = 64 * MIB  # of ImageNet's development kit when it is unpacked

# A list of images.
LIST_BYTES = GIB  # of the file; for Parquet, the unpacked size of the columns that are read
LIST_ROWS = 50_000_000
