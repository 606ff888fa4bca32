-- Posts one inference request again and again, and looks at each answer. Arguments: what a right
-- answer has in it, the file of the body, and the bytes of its JSON, or 0 if it is nothing else.

local threads = {}

function setup(thread)
   threads[#threads + 1] = thread
end

function init(arguments)
   expected = arguments[1]
   wrong = 0
   local file = assert(io.open(arguments[2], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   wrk.headers["Content-Type"] = "application/json"
   if arguments[3] ~= "0" then
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.headers["Inference-Header-Content-Length"] = arguments[3]
   end
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
