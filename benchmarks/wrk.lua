-- Posts bodies and looks at each answer, or asks for a URL every 50 ms if it is given no bodies.
--
-- Thread n posts the n-th body only, so that an answer to another's counts as wrong. Arguments, for
-- each body: what a right answer has in it, nothing if only statuses count (to look at an answer
-- takes longer than to make a small one); the file of the body; how many of its bytes are JSON if
-- the rest is binary, else 0; and for how many milliseconds a connection waits before each request.

local threads = {}

function setup(thread)
   threads[#threads + 1] = thread
   thread:set("number", #threads)
end

function init(arguments)
   wrong = 0
   if #arguments == 0 then
      delay = function() return 50 end
      return
   end
   local first = 4 * number - 3
   local expected, name, json_length, pause = unpack(arguments, first, first + 3)
   if pause ~= "0" then
      -- Some wait longer than others, so that they do not ask all at once.
      delay = function() return math.random(0, 2 * pause) end
   end
   local file = assert(io.open(name, "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   wrk.headers["Content-Type"] = "application/json"
   if json_length ~= "0" then
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.headers["Inference-Header-Content-Length"] = json_length
   end
   if expected ~= "" then
      response = function(status, headers, body)
         if status == 200 and not body:find(expected, 1, true) then
            wrong = wrong + 1
         end
      end
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
