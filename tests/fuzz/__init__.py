"""Changed model files, MLmodel files, compiled forms and Parquet footers: refused, or scored as the library does."""
