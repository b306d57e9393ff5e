"""RandAugment policies of timm that the parameters accept."""

POLICIES = [
    "rand",
    "rand-m0-n2-p1",
    "rand-m2-n2",
    "rand-m9-n2",
    "rand-m9-mstd0.5-inc1",
    "rand-n3-inc1-m10-mstd2.5",
    "rand-m30-n2-mmax30-inc1",
    "rand-m30-n2-mmax30",
    "rand-m9-n0",
    "rand-m10-n2-mstd101",
    "rand-m9-n15-tweights",
    "rand-m9-n2-t3a-inc0",
    "rand-m9-n14-t3aw-p0.25",
]
