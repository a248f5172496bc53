"""Unary RPCs about the account: user, plan, usage, storage, models (§9, §10)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from emulators.kimi_connect.caller import Caller
from emulators.kimi_connect.error import invalid
from emulators.kimi_connect.world import World

Body = Mapping[str, Any]
_REGIONS = {"cn": "REGION_CN", "overseas": "REGION_OVERSEA"}
_FIVE_HOURS = 5 * 3600
_WEEK = 7 * 86_400


def get_current_user(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return who the token belongs to."""
    account = caller.account
    user = {
        "id": account.user_id,
        "nickname": account.name,
        "avatar": "",
        "phone": "",
        "region": _REGIONS[account.region],
        "globalId": f"global-{account.user_id}",
    }
    return {"user": user}


def get_subscription(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return the plan; clients use it to check a token."""
    account = caller.account
    plan = {
        "userId": account.user_id,
        "userName": account.name,
        "membershipLevel": account.level,
    }
    return {"subscription": plan}


def get_subscription_stats(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return quota use as ratios 0–1 with nanosecond timestamps."""
    balance = {
        "feature": "FEATURE_OMNI",
        "type": "SUBSCRIPTION",
        "unit": "UNIT_CREDIT",
        "amountUsedRatio": 0.25,
        "kimiCodeUsedRatio": 0.1,
        "expireTime": _in(world, 30 * 86_400),
    }
    return {
        "ratelimitCode5h": _window(world, 0.5, _FIVE_HOURS),
        "ratelimitCode7d": _window(world, 0.125, _WEEK),
        "subscriptionBalance": balance,
    }


def get_usages(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return usage per scope; the scope must not be empty."""
    scopes = body.get("scope")
    if not isinstance(scopes, list) or not scopes:
        raise invalid("scope", "value is required")
    detail = {
        "limit": "100",
        "used": "25",
        "remaining": "75",
        "resetTime": _in(world, _WEEK),
    }
    window = {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}
    usages = [
        {
            "scope": scope,
            "detail": detail,
            "limits": [{"window": window, "detail": detail}],
        }
        for scope in scopes
    ]
    return {"usages": usages, "totalQuota": detail}


def get_user_storage_quota(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return the storage limit in bytes, as a string."""
    return {"quota": {"limitBytes": str(world.knobs.storage_limit)}}


def _window(world: World, ratio: float, seconds: int) -> dict[str, Any]:
    return {"enabled": True, "ratio": ratio, "resetTime": _in(world, seconds)}


def _in(world: World, seconds: float) -> str:
    moment = datetime.fromtimestamp(world.clock() + seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
