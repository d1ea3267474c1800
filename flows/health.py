"""``provider_health``: asks every provider for its status, on a schedule, without spending.

Writes one table artifact. Fails when no provider can be reached, so that an automation can tell.
"""

# No postponed annotations: see flows/planning.py.

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from core.completion import ProviderStatus
from core.errors import EnvironmentUnusableError
from core.settings import load_settings
from providers.factory import build_router
from tasks.store import NOWHERE


@flow(name="provider-health", persist_result=False, result_storage=NOWHERE)
async def provider_health() -> tuple[ProviderStatus, ...]:
    """The status of every provider of a route.

    Raises:
        ConfigError: no provider is configured.
        EnvironmentUnusableError: none of them can be reached.
    """
    router = build_router(load_settings())
    try:
        used = {d.partition(":")[0] for route in router.describe().values() for d in route}
        statuses = tuple(s for s in await router.get_statuses() if s.name in used)
    finally:
        await router.close()
    down = [s.name for s in statuses if s.reachable is False]
    await acreate_table_artifact(
        [s.model_dump() for s in statuses],
        key="provider-health",
        description=f"{len(statuses) - len(down)} of {len(statuses)} providers can be reached",
    )
    if len(down) == len(statuses):
        raise EnvironmentUnusableError(f"no provider can be reached: {', '.join(down)}")
    return statuses
