-- Prints what wrk has seen as one line of JSON. $BODY is the length of a body to post.

local length = tonumber(os.getenv("BODY") or "")

if length then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/octet-stream"
    wrk.body = string.rep("x", length)
end

-- Times are in microseconds. `status` counts responses of 400 and more, the others connections.
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(
        string.format(
            '\n{"requests": %d, "bytes": %.0f, "us": %d, "p50": %.0f, "p99": %.0f, "p999": %.0f, "errors": '
                .. '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
            summary.requests,
            summary.bytes,
            summary.duration,
            latency:percentile(50),
            latency:percentile(99),
            latency:percentile(99.9),
            errors.connect,
            errors.read,
            errors.write,
            errors.timeout,
            errors.status
        )
    )
end
