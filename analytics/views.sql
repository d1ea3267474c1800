-- Read-only shapes over usage_event, the same in usage.duckdb and in our own queries.

-- usage_event with what it means in money. An event_id is one row however often it was emitted, so
-- a replayed row that is here is the only trace of a call that was paid for, and counts. Answers
-- from the response cache, and steps taken over from an earlier run, cost nothing: their price is
-- saved_usd. Only model calls cost; a call that failed has no price unless the provider charged
-- for it.
CREATE OR REPLACE VIEW usage_fact AS
SELECT
    *,
    coalesce(request_model, response_model) AS model,
    (ts AT TIME ZONE 'UTC')::DATE AS day,
    kind = 'model_call' AND NOT cache_hit AS is_paid_call,
    CASE WHEN is_paid_call THEN cost_usd END AS spent_usd,
    CASE WHEN kind IN ('model_call', 'step') AND cache_hit THEN cost_usd END AS saved_usd,
    is_paid_call AND cost_usd IS NULL AND outcome <> 'error' AS is_unpriced
FROM usage_event;

CREATE OR REPLACE VIEW daily_spend AS
SELECT
    day,
    provider_name,
    model,
    count(*) FILTER (kind = 'model_call') AS model_calls,
    count(*) FILTER (kind = 'model_call' AND outcome = 'error') AS errors,
    sum(input_tokens) FILTER (is_paid_call) AS input_tokens,
    sum(output_tokens) FILTER (is_paid_call) AS output_tokens,
    sum(spent_usd) AS cost_usd,
    sum(saved_usd) AS saved_usd,
    count(*) FILTER (is_unpriced) AS unpriced_calls
FROM usage_fact
WHERE kind = 'model_call' OR (kind = 'step' AND cache_hit)
GROUP BY ALL;

CREATE OR REPLACE VIEW tool_outcome AS
SELECT
    tool_name,
    count(*) AS runs,
    count(*) FILTER (outcome = 'ok') AS succeeded,
    count(*) FILTER (outcome = 'error') AS failed,
    count(*) FILTER (outcome = 'interrupted') AS interrupted
FROM usage_event
WHERE kind = 'tool_run'
GROUP BY ALL;
