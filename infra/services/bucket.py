"""Whether a bucket can be read, by the library by which MLflow reads it: `python bucket.py BUCKET`.

It exits with 0, or with the reason on stderr.
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

once = Config(retries={"total_max_attempts": 1}, connect_timeout=20)
try:
    boto3.client("s3", config=once).list_objects_v2(Bucket=sys.argv[1], MaxKeys=1)
except ClientError as error:
    missing = error.response["Error"]["Code"] == "NoSuchBucket"
    sys.exit("NoSuchBucket" if missing else str(error))
except BotoCoreError as error:
    # 'Connection refused' says more than 'Could not connect to the endpoint'.
    sys.exit(str(error.kwargs.get("error", error)))
