-- Asks the same URL every 50 ms on one connection, as a probe would, only more often.

function delay()
   return 50
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"microseconds": %d, "requests": %d, "wrong": 0, "refused": %d, "broken": %d, ' ..
      '"p50": %.1f, "p99": %.1f}\n',
      summary.duration, summary.requests, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
