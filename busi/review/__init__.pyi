from .app import serve_review as serve_review
