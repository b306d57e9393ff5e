"""What deployments stand on: the work pool, and the automations of automations.yaml.

    PREFECT_API_URL=http://127.0.0.1:4200/api python infra/prefect/surroundings.py

One process in place of five of Prefect's command, each of which takes seconds to start. A pool that
is there stays as it is; automations are made anew.
"""

import asyncio
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

POOL = "local"


async def main() -> None:
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
        sys.exit(f"Prefect at {PREFECT_API_URL.value()} cannot be used: {error}")
