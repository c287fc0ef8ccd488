from .audit_page import write_audit as write_audit
from .report import report_runs as report_runs
from .report import write_report as write_report
