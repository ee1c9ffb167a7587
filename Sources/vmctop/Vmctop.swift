import ArgumentParser

@main
struct Vmctop: ParsableCommand {
}
