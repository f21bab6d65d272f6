-- What `winnow.publish.labelled` makes where a batch's tables lack it.

-- profile: how many responses of the pools have each trait
CREATE TEMP TABLE profile AS
SELECT 'language' AS trait, coalesce(language, '') AS value, count(*) AS n
FROM responses JOIN prompts USING (prompt_id) GROUP BY 2
UNION ALL SELECT 'dimension', dimension, count(*)
FROM responses JOIN prompts USING (prompt_id) WHERE dimension IS NOT NULL GROUP BY 2
UNION ALL SELECT 'tag', tag, count(*) FROM responses JOIN (
    SELECT prompt_id, unnest(list_distinct(tags)) AS tag FROM prompts
) USING (prompt_id) GROUP BY 2
UNION ALL SELECT 'flag', flag, count(*)
FROM (SELECT unnest(list_distinct(flags)) AS flag FROM responses) GROUP BY 2
UNION ALL SELECT 'length', length(coalesce(message, ''))::VARCHAR, count(*)
FROM responses GROUP BY 2
