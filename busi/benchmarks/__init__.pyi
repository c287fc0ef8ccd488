from .groups import GROUPS as GROUPS
from .groups import SLOW_GROUPS as SLOW_GROUPS
from .groups import run_groups as run_groups
