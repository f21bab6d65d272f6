"""Campaigns: what a team asks for in YAML, the folder that they lie in, their schedules and teams.

sections   the settings, each with its unit and default
schedule   when batches begin and what they are called
reading    a file -> Campaign, every fault named
"""

from winnow.campaign.reading import bare_campaign, load_campaign, parse_campaign
from winnow.campaign.schedule import Schedule
from winnow.campaign.sections import (
    MAX_SOURCES,
    Aggregation,
    AuditLimits,
    BroughtLabels,
    Campaign,
    Content,
    Expand,
    Feature,
    Hub,
    Ingest,
    Judge,
    Label,
    Publish,
    RewardScore,
    Sampler,
    Select,
    Server,
    Source,
    Strategy,
    Validate,
    Vendor,
)
from winnow.campaign.settings import MOST, MOST_USD, NAME, Name

__all__ = [
    "MAX_SOURCES",
    "MOST",
    "MOST_USD",
    "NAME",
    "Aggregation",
    "AuditLimits",
    "BroughtLabels",
    "Campaign",
    "Content",
    "Expand",
    "Feature",
    "Hub",
    "Ingest",
    "Judge",
    "Label",
    "Name",
    "Publish",
    "RewardScore",
    "Sampler",
    "Schedule",
    "Select",
    "Server",
    "Source",
    "Strategy",
    "Validate",
    "Vendor",
    "bare_campaign",
    "load_campaign",
    "parse_campaign",
]
