"""One output format a file: PDF, HTML, XLSX, CSV, JSON."""
