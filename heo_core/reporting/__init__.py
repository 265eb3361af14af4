"""The report: data frames in, one self-contained HTML page out. It knows no database and no model."""
