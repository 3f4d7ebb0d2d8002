"""Which rules run again after a change of what one of them does, by the drawing in the Snakefile."""

REPORT = {"write_report"}
TABLES = {"merge", "tidy", "qc"} | REPORT
EXTRACT = {"extract", "digest"} | TABLES
CROP = {"crop"} | EXTRACT
TRACK = {"track", "cache", "index"} | CROP
SEGMENT = {"segment", "background"} | TRACK
BACKGROUND = {"background", "cache", "index"} | CROP
EVERYTHING = {"copy"} | SEGMENT
JOINED = {"join_traces", "join_tables", "compare_samples"}
RECORD = {"record"} | REPORT  # both say what was run, so that they follow every change of the config
