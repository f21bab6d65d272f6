-- How two versions of a view differ: see `winnow.publish.diff`. In braces stand columns of the view.

-- sided: a row an id and side, with its label, the hash of its content and its number of rows
-- Both sides are read as one, so that a column which only newer shards have is null in the others and
-- not another content.
CREATE TEMP TABLE sided AS
SELECT
    "{key}"::VARCHAR AS id,
    filename IN (SELECT unnest($before)) AS was,
    string_agg(said, ', ' ORDER BY said) AS label,
    sum(hash({content})::HUGEINT) AS content,
    count(*) AS n
FROM (
    SELECT *, coalesce({label}::VARCHAR, 'none') AS said
    FROM read_parquet($files, union_by_name = true, filename = true, hive_partitioning = false)
)
GROUP BY ALL

-- met: a row an id, with both sides
CREATE TEMP TABLE met AS
SELECT
    id, coalesce(b.n, 0) AS n_before, coalesce(a.n, 0) AS n_after,
    b.label AS label_before, a.label AS label_after,
    b.id IS NOT NULL AND a.id IS NOT NULL AS in_both,
    in_both AND b.label <> a.label AS relabelled,
    in_both AND b.label = a.label AND b.content <> a.content AS rewritten
FROM (FROM sided WHERE was) AS b FULL JOIN (FROM sided WHERE NOT was) AS a USING (id)

-- counted: how many rows changed in which way
SELECT sum(greatest(n_after - n_before, 0)), sum(greatest(n_before - n_after, 0)),
    count_if(relabelled), count_if(rewritten)
FROM met
