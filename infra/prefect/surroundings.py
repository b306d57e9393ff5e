"""What deployments stand on: the work pool, and the automations of automations.yaml.

    PREFECT_API_URL=http://127.0.0.1:4200/api python infra/prefect/surroundings.py

One process in place of five of Prefect's command, each of which takes seconds to start. A pool that
is there stays as it is; automations are made anew.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from soup.errors import without_password

POOL = "local"
REPOSITORY = "MODELSOUP_REPOSITORY"


def require_no_token(repository: str) -> None:
    """Check that the address of a repository holds no password: Prefect shows it to everybody.

    Raises:
        SystemExit: it does; the message says where credentials belong.
    """
    plain = re.sub(r"^ssh://[^/\s:@]*@", "ssh://", repository)  # a user alone lets nobody in
    if without_password(plain) != plain:
        sys.exit(
            f"error: {REPOSITORY} ({without_password(repository)}, or the remote origin of this "
            "checkout) holds a password or token, which Prefect would store and show; give the "
            "address without it, and let the worker's git know it: by a credential helper (git "
            "config credential.helper store), an SSH key, or credentials of a Prefect block (the "
            "step git_clone in prefect.yaml)"
        )


async def main() -> None:
    require_no_token(os.environ.get(REPOSITORY, ""))
    text = Path(__file__).with_name("automations.yaml").read_text()
    wanted = [AutomationCore.model_validate(each) for each in yaml.safe_load(text)["automations"]]
    async with get_client() as client:
        try:
            await client.read_work_pool(POOL)
        except ObjectNotFound:
            template = await get_default_base_job_template_for_infrastructure_type("process")
            await client.create_work_pool(
                WorkPoolCreate(name=POOL, type="process", base_job_template=template)
            )
        for automation in wanted:
            for old in await client.read_automations_by_name(automation.name):
                await client.delete_automation(old.id)
            await client.create_automation(automation)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except httpx.HTTPError as error:
        sys.exit(without_password(f"Prefect at {PREFECT_API_URL.value()} cannot be used: {error}"))
