from .app import serve_review as serve_review
from .uploads import serve_uploads as serve_uploads
