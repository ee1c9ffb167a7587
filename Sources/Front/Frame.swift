import Screen

/// A drawn screen, and what lies where on it.
public struct Frame: Sendable {
  /// What a click on a place means.
  public enum Target: Sendable, Hashable {
    case tab(Pane)
    case column(Pane, String)
    /// A row by its index among all rows of the pane.
    case row(Pane, Int)
    case pane(Pane)
    /// A moment of the recording, by the column.
    case timeLine
  }

  public struct Region: Sendable, Hashable {
    public var area: Rectangle
    public var target: Target
  }

  public var screen: Screen
  /// Later ones lie on top.
  public var regions: [Region] = []
  /// The first row shown of each pane that is on the screen.
  public var tops: [Pane: Int] = [:]
  /// Rows of each pane that fit.
  public var pageHeights: [Pane: Int] = [:]
  public var helpTop = 0
  /// The first line shown of what is explained.
  public var explanationTop = 0
  /// Which rows of the pane in focus are shown, such as `1-16/25`; empty where all are.
  public var position = ""
}

/// Draws a model: pure, so that a test can look at the result.
public enum Renderer {
  public static func render(_ model: FrontModel, columns: Int, rows: Int, isASCII: Bool = false) -> Frame {
    var painter = Painter(model: model, columns: columns, rows: rows, isASCII: isASCII)
    painter.paint()
    return painter.frame
  }
}
