"""From files to batches: records, groups, folds, geometry, cache, data module."""
