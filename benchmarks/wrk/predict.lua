-- Posts rows and looks at each answer. Thread n posts the n-th row only, so that an answer to
-- another's row counts as wrong. Arguments, for each row: what a right answer has in it, the body.

local threads = {}

function setup(thread)
   threads[#threads + 1] = thread
   thread:set("number", #threads)
end

function init(arguments)
   local first = 2 * number - 1
   expected = arguments[first]
   wrong = 0
   wrk.method = "POST"
   wrk.body = arguments[first + 1]
   wrk.headers["Content-Type"] = "application/json"
end

function response(status, headers, body)
   if status == 200 and not body:find(expected, 1, true) then
      wrong = wrong + 1
   end
end

function done(summary, latency, requests)
   local wrong = 0
   for _, thread in ipairs(threads) do
      wrong = wrong + thread:get("wrong")
   end
   local errors = summary.errors
   io.write(string.format(
      '{"microseconds": %d, "requests": %d, "wrong": %d, "refused": %d, "broken": %d, ' ..
      '"p50": %.1f, "p99": %.1f}\n',
      summary.duration, summary.requests, wrong, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
