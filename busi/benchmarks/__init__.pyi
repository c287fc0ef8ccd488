from .rows import Row as Row
