-- The tables of usage.duckdb. The columns of usage_event are the fields of core.usage.UsageEvent.
-- Costs are US dollars, durations are seconds. A column added later must be nullable or have a
-- default: it is added to existing files as it is declared here.

CREATE TABLE IF NOT EXISTS usage_event (
    event_id VARCHAR NOT NULL,
    ts TIMESTAMPTZ NOT NULL,
    kind VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    error_type VARCHAR,
    run_key VARCHAR NOT NULL,
    flow_run_id VARCHAR,
    step_id VARCHAR,
    attempt INTEGER,
    turn INTEGER,
    call_index INTEGER,
    try_index INTEGER NOT NULL,
    operation_name VARCHAR NOT NULL,
    workflow_name VARCHAR,
    agent_name VARCHAR,
    tool_name VARCHAR,
    provider_name VARCHAR,
    deployment VARCHAR,
    route VARCHAR,
    request_model VARCHAR,
    response_model VARCHAR,
    response_id VARCHAR,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_input_tokens BIGINT NOT NULL,
    cache_write_input_tokens BIGINT NOT NULL,
    reasoning_output_tokens BIGINT NOT NULL,
    cost_usd DECIMAL(38, 18),
    cost_source VARCHAR,
    price_version VARCHAR,
    duration_seconds DOUBLE NOT NULL,
    time_to_first_chunk_seconds DOUBLE,
    replayed BOOLEAN NOT NULL,
    cache_hit BOOLEAN NOT NULL,
    sandbox VARCHAR,
    tags VARCHAR[] NOT NULL,
    raw_usage JSON NOT NULL,
    semconv_version VARCHAR NOT NULL
);

-- Every segment of the spool whose rows are in usage_event.
CREATE TABLE IF NOT EXISTS ingest_segment (
    segment_id VARCHAR PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    bad_line_count BIGINT NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);
