"""What lies in a run's folder: one module per file or kind of file. Executes nothing and knows no papermill."""
