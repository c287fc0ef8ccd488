from .jobs import Pruned as Pruned
from .jobs import forget_failure as forget_failure
from .jobs import record_failure as record_failure
from .jobs import record_reuse as record_reuse
from .optuna_sweeper import register_sweeper as register_sweeper
from .pruning import Prune as Prune
from .summary import SummaryCallback as SummaryCallback
