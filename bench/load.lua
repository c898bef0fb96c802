-- The load, for wrk: every thread has one connection, so an answer always belongs to the request before it.
-- The requests are in the plan, a Lua file that load.py writes; the results go to the report that the plan names.

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

local plan, cards, at, rounds, asked, written
local tokens = {}
-- Not local, so that done() can fetch them from every thread.
counts, acknowledged, odd, full, report_path = {}, {}, "", false, ""

local XML = "Content-Type: application/xml; charset=utf-8\r\n"
local ICS = "Content-Type: text/calendar; charset=utf-8\r\n"
local EXPECTED = {
   home = 207, calendar = 207, sync = 207, query = 207, multiget = 207, event = 200, contact = 200, new = 201, over = 204,
}

-- Every kind is spread evenly over the list, which is repeated: each part of it has about the same mix, so that a slow
-- server gets the same mix as a fast one.
local function evenly(mix)
   local kinds, due, total, deck = {}, {}, 0, {}
   for kind, share in pairs(mix) do
      table.insert(kinds, kind)
      due[kind], total = 0, total + share
   end
   table.sort(kinds)
   for i = 1, total do
      local next = kinds[1]
      for _, kind in ipairs(kinds) do
         due[kind] = due[kind] + mix[kind]
         if due[kind] > due[next] then next = kind end
      end
      deck[i], due[next] = next, due[next] - total
   end
   return deck
end

function init(args)
   plan = dofile(args[#args])
   report_path = plan.report
   math.randomseed(plan.seed + number)
   cards = evenly(plan.mix)
   at = math.floor(number * #cards / #plan.people)
   rounds, written = 0, 0
end

local function event_name(user, index)
   return string.format("%s-%05d", user, index)
end

local function day(index)
   return os.date("!%Y%m%d", plan.first_day + 86400 * index)
end

-- The iCalendar object, with a mark that identifies the write.
local function object(uid)
   written = written + 1
   asked.mark = written
   local values = { UID = uid, DAY = day(math.random(0, plan.days - 1)), MARK = plan.run .. "/" .. number .. "/" .. written }
   return (plan.event:gsub("@(%u+)@", values))
end

local make = {}

function make.home(user)
   return "PROPFIND", "/dav.php/calendars/" .. user .. "/", "Depth: 1\r\n" .. XML, plan.bodies.home
end

function make.calendar(user, base)
   return "PROPFIND", base, "Depth: 0\r\n" .. XML, plan.bodies.calendar
end

function make.sync(user, base)
   asked.user = user
   return "REPORT", base, XML, (plan.bodies.sync:gsub("@TOKEN@", tokens[user] or plan.token))
end

function make.query(user, base)
   local first = math.random(0, plan.days - 8)
   local values = { FROM = day(first), TO = day(first + 7) }
   return "REPORT", base, "Depth: 1\r\n" .. XML, (plan.bodies.query:gsub("@(%u+)@", values))
end

function make.multiget(user, base)
   local hrefs, apart = {}, math.floor(plan.events / plan.together)
   local first = math.random(0, apart - 1)
   for i = 1, plan.together do
      hrefs[i] = "<d:href>" .. base .. event_name(user, first + apart * (i - 1)) .. ".ics</d:href>"
   end
   return "REPORT", base, "Depth: 1\r\n" .. XML, (plan.bodies.multiget:gsub("@HREFS@", table.concat(hrefs)))
end

function make.event(user, base)
   return "GET", base .. event_name(user, math.random(0, plan.events - 1)) .. ".ics", "", ""
end

function make.contact(user)
   local name = string.format("contact-%05d.vcf", math.random(0, plan.contacts - 1))
   return "GET", "/dav.php/addressbooks/" .. user .. "/default/" .. name, "", ""
end

function make.new(user, base)
   local uid = string.format("new-%s-%d-%d", plan.run, number, written + 1)
   return "PUT", base .. uid .. ".ics", ICS, object(uid)
end

-- Every thread overwrites its own objects, so that the last acknowledged write must be the stored one.
function make.over(user, base)
   local slice = math.floor(plan.events / #plan.people)
   local uid = event_name(user, #plan.people * math.random(0, slice - 1) + number)
   return "PUT", base .. uid .. ".ics", ICS, object(uid)
end

function request()
   at = at % #cards + 1
   asked = { kind = cards[at] }
   local mine = plan.people[number + 1]
   local user = mine.users[math.random(#mine.users)]
   local base = "/dav.php/calendars/" .. user .. "/default/"
   local method, path, headers, body = make[asked.kind](user, base)
   asked.path = path
   return table.concat({
      method, " ", path, " HTTP/1.1\r\nHost: ", plan.host, "\r\nAuthorization: Basic ", plan.passwords[user], "\r\n",
      mine.cookie, headers, "Content-Length: ", #body, "\r\n\r\n", body,
   })
end

-- Returns the error in an answer that has the right status, or nothing.
local function flaw(body)
   if asked.kind == "multiget" then
      local _, count = body:gsub("END:VCALENDAR", "")
      if count ~= plan.together then return count .. " objects instead of " .. plan.together end
   end
   if asked.kind == "query" and not body:find("BEGIN:VEVENT", 1, true) then return "there is no event" end
   if asked.kind == "sync" then
      tokens[asked.user] = body:match("sync%-token>([^<]+)<")
      if not tokens[asked.user] then return "there is no token" end
   end
end

function response(status, headers, body)
   local key = asked.kind .. "\t" .. status
   counts[key] = (counts[key] or 0) + 1
   local wrong = status ~= EXPECTED[asked.kind] and "wanted " .. EXPECTED[asked.kind] or flaw(body)
   if wrong and odd == "" then
      odd = asked.kind .. " " .. asked.path .. " answered " .. status .. ", " .. wrong .. ": " .. body:sub(1, 600)
   elseif asked.mark and not wrong then
      acknowledged[asked.path] = asked.mark
   end
   if at == #cards then
      rounds = rounds + 1
      full = rounds == plan.most_rounds
      if full then wrk.thread:stop() end
   end
end

function done(summary, latency, requests)
   local report = io.open(threads[1]:get("report_path"), "w")
   local function tell(...) report:write(table.concat({ ... }, "\t"), "\n") end
   tell("rate", summary.requests / (summary.duration / 1e6))
   tell("p95", latency:percentile(95) / 1e3)
   for name, count in pairs(summary.errors) do
      if name ~= "status" then tell("error", name, count) end -- those are counted, and told, by kind
   end
   for index, thread in ipairs(threads) do
      for key, count in pairs(thread:get("counts")) do tell("count", key, count) end
      for path, mark in pairs(thread:get("acknowledged")) do tell("wrote", path, index - 1, mark) end
      if thread:get("odd") ~= "" then tell("odd", (thread:get("odd"):gsub("%s+", " "))) end
      if thread:get("full") then tell("full") end
   end
   report:close()
end
