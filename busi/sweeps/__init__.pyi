from .optuna_sweeper import register_sweeper as register_sweeper
from .pruning import Prune as Prune
from .summary import Pruned as Pruned
from .summary import SummaryCallback as SummaryCallback
from .summary import forget_failure as forget_failure
from .summary import record_failure as record_failure
from .summary import record_reuse as record_reuse
