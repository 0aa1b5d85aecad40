-- wrk: a header block that was never sent before, in every request
local sent = 0
request = function()
  sent = sent + 1
  wrk.headers["X-Fresh"] = tostring(sent) .. tostring(wrk.thread)
  return wrk.format()
end
