"""The limits on files and models of others, and no code. docs/limits.md says what happens at each.

Each limit is far above what is in use. Read them as `limits.NAME`, so that a test can lower one.
"""

MIB = 1 << 20
GIB = 1 << 30

# A model that is built from a description.
MODEL_BYTES = 64 * GIB  # parameters and buffers; timm's largest model has 27 GB
MODEL_PARTS = 100_000  # modules, parameters and buffers; timm's largest model has 12,000
COMPUTED_BYTES = 256 * MIB  # buffers that no file holds, such as tables of positions
CLASSES = 1_000_000
IMAGE_SIDE = 4096  # pixels
DEPTH = 1000  # blocks of a stage
WIDTH = 1 << 20  # any other whole number in an argument
ITEMS = 1000  # numbers in a nested argument
TEXT = 1000  # characters of a class name, or of a text in an argument
