var app = WebApplication.CreateBuilder(args).Build();
app.MapGet("/", () => "HELLO ONE");
app.Run();
