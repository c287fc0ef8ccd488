"""The sections of a report, a file each: what is measured, and how it is shown."""
