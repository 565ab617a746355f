//! SQL conditions, compiled once and run over columns, and queries over the [`history`]. The only
//! user of DataFusion.

pub mod history;
pub mod postgres;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, DictionaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use yagura_detect::{Compiler, Condition, ConditionError, Expression};
use yagura_event::schema::dictionary_type;

/// Compiles conditions with DataFusion.
pub struct SqlCompiler {
    session: SessionContext,
}

impl Default for SqlCompiler {
    fn default() -> Self {
        SqlCompiler { session: SessionContext::new() }
    }
}

impl Compiler for SqlCompiler {
    fn compile_over(
        &self,
        name: &str,
        schema: &SchemaRef,
        sql: &str,
    ) -> Result<Arc<dyn Condition>, ConditionError> {
        let mut required = Vec::new();
        let compiled =
            self.compiled(name, schema, sql, |expression| collect_required(expression, &mut required))?;
        if compiled.gives != DataType::Boolean {
            let gives = compiled.gives;
            return Err(plain(format!("`{sql}` is a {gives}, not a condition; compare it with something")));
        }
        Ok(Arc::new(SqlCondition { physical: compiled.physical, columns: compiled.columns, required }))
    }

    fn expression_over(
        &self,
        name: &str,
        schema: &SchemaRef,
        sql: &str,
    ) -> Result<Arc<dyn Expression>, ConditionError> {
        let Compiled { physical, columns, gives } = self.compiled(name, schema, sql, |_| ())?;
        let as_text = match &gives {
            DataType::Dictionary(_, words) => matches!(**words, DataType::Utf8 | DataType::LargeUtf8),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
            other if other.is_numeric() && *other != DataType::Null => false,
            other => {
                return Err(plain(format!("`{sql}` is a {other}; computed columns are texts or numbers")));
            }
        };
        Ok(Arc::new(SqlExpression { physical, columns, as_text }))
    }
}

/// An expression, compiled.
struct Compiled {
    physical: Arc<dyn PhysicalExpr>,
    /// The columns that it looks at, by name.
    columns: Vec<String>,
    gives: DataType,
}

impl SqlCompiler {
    fn compiled(
        &self,
        name: &str,
        schema: &SchemaRef,
        sql: &str,
        look: impl FnOnce(&Expr),
    ) -> Result<Compiled, ConditionError> {
        let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(|e| plain(e.to_string()))?;
        let explain = |e: DataFusionError| explain(name, schema, sql, e);
        let expression = self.session.parse_sql_expr(sql, &columns).map_err(explain)?;
        refuse_volatile(&expression)?;
        look(&expression);
        let physical = self.session.create_physical_expr(expression, &columns).map_err(explain)?;
        let gives = physical.data_type(schema).map_err(explain)?;
        // What cannot be computed (a text that is no number, compared with one) shows without rows.
        physical.evaluate(&RecordBatch::new_empty(Arc::clone(schema))).map_err(explain)?;
        let mut columns: Vec<String> =
            collect_columns(&physical).iter().map(|column| column.name().to_string()).collect();
        columns.sort();
        Ok(Compiled { physical, columns, gives })
    }
}

struct SqlExpression {
    physical: Arc<dyn PhysicalExpr>,
    /// By name.
    columns: Vec<String>,
    /// Else it is a number.
    as_text: bool,
}

impl Expression for SqlExpression {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, String> {
        let value = self.physical.evaluate(rows).map_err(|e| e.to_string())?;
        let array = value.into_array(rows.num_rows()).map_err(|e| e.to_string())?;
        if !self.as_text {
            return cast(&array, &DataType::Float64).map_err(|e| e.to_string());
        }
        let texts = cast(&array, &DataType::Utf8).map_err(|e| e.to_string())?;
        let texts = texts.as_string_opt::<i32>().ok_or("the expression gave no texts")?;
        let words: DictionaryArray<Int32Type> = texts.iter().map(|text| text.unwrap_or("")).collect();
        Ok(Arc::new(words))
    }

    fn data_type(&self) -> DataType {
        if self.as_text { dictionary_type() } else { DataType::Float64 }
    }

    fn columns(&self) -> Option<&[String]> {
        Some(&self.columns)
    }
}

struct SqlCondition {
    physical: Arc<dyn PhysicalExpr>,
    /// By name.
    columns: Vec<String>,
    required: Vec<(String, Vec<String>)>,
}

impl Condition for SqlCondition {
    fn select(&self, rows: &RecordBatch) -> Result<BooleanArray, String> {
        let value = self.physical.evaluate(rows).map_err(|e| e.to_string())?;
        let array = value.into_array(rows.num_rows()).map_err(|e| e.to_string())?;
        array.as_boolean_opt().cloned().ok_or_else(|| "the condition gave no booleans".to_string())
    }

    fn columns(&self) -> Option<&[String]> {
        Some(&self.columns)
    }

    fn required(&self) -> &[(String, Vec<String>)] {
        &self.required
    }
}

fn plain(message: String) -> ConditionError {
    ConditionError { at: None, message }
}

/// A result may depend on the log's content alone: no clock, no chance.
fn refuse_volatile(expression: &Expr) -> Result<(), ConditionError> {
    let mut found = None;
    let walked = expression.apply(|node| {
        match node {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                found = Some(format!(
                    "`{}()` gives another answer each time; a condition may depend on the record alone, or a replay would differ",
                    call.name()
                ));
                return Ok(TreeNodeRecursion::Stop);
            }
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => {
                found = Some("a condition judges one row and has no subqueries".to_string());
                return Ok(TreeNodeRecursion::Stop);
            }
            Expr::AggregateFunction(call) => {
                found = Some(format!("`{}` is an aggregate; a condition judges one row", call.func.name()));
                return Ok(TreeNodeRecursion::Stop);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match (walked, found) {
        (_, Some(message)) => Err(plain(message)),
        (Err(e), None) => Err(plain(e.to_string())),
        (Ok(_), None) => Ok(()),
    }
}

/// From the top-level ANDs, the `column = 'text'` and `column IN ('a', 'b')` terms.
fn collect_required(expression: &Expr, out: &mut Vec<(String, Vec<String>)>) {
    match expression {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            collect_required(left, out);
            collect_required(right, out);
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), literal) | (literal, Expr::Column(column)) => {
                    if let Some(text) = text_of(literal) {
                        out.push((column.name.clone(), vec![text]));
                    }
                }
                _ => {}
            }
        }
        Expr::InList(list) if !list.negated => {
            if let Expr::Column(column) = list.expr.as_ref() {
                let texts: Option<Vec<String>> = list.list.iter().map(text_of).collect();
                if let Some(texts) = texts {
                    out.push((column.name.clone(), texts));
                }
            }
        }
        _ => {}
    }
}

fn text_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
        _ => None,
    }
}

/// DataFusion's complaint in the words of a pipeline's author, with the place.
fn explain(name: &str, schema: &SchemaRef, sql: &str, error: DataFusionError) -> ConditionError {
    match error.find_root() {
        DataFusionError::SchemaError(cause, _) => {
            if let SchemaError::FieldNotFound { field, .. } = cause.as_ref() {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                return ConditionError {
                    at: place_of(sql, field.name()),
                    message: format!(
                        "`{}` is no column of {}; there are: {}",
                        field.name(),
                        name,
                        names.join(", ")
                    ),
                };
            }
            plain(error.to_string())
        }
        DataFusionError::SQL(cause, _) => {
            let text = cause.to_string();
            ConditionError { at: parser_place(&text), message: text.replace("sql parser error: ", "") }
        }
        other => {
            let text = other.to_string();
            plain(text.lines().next().unwrap_or("cannot be compiled").to_string())
        }
    }
}

/// Where a name stands in the text as a word, outside of quoted text.
fn place_of(sql: &str, name: &str) -> Option<(u32, u32)> {
    let wanted = name.to_lowercase();
    for (line, text) in sql.lines().enumerate() {
        let text = text.to_lowercase();
        let mut from = 0;
        while let Some(found) = text[from..].find(&wanted) {
            let at = from + found;
            let end = at + wanted.len();
            let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let quoted = text[..at].matches('\'').count() % 2 == 1;
            if !quoted && !word(text[..at].chars().last()) && !word(text[end..].chars().next()) {
                let column = text[..at].chars().count() as u32 + 1;
                return Some((line as u32 + 1, column));
            }
            from = end;
        }
    }
    None
}

/// The place in a parser's message: `… at Line: 1, Column: 14`.
fn parser_place(message: &str) -> Option<(u32, u32)> {
    let (_, after) = message.rsplit_once("Line: ")?;
    let (line, column) = after.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    Some((line.trim().parse().ok()?, digits.parse().ok()?))
}

/// The functions that conditions may call: those whose answer depends on their arguments alone.
pub fn functions() -> Vec<String> {
    let session = SessionContext::new();
    let state = session.state();
    let names: HashSet<String> = state
        .scalar_functions()
        .values()
        .filter(|f| f.signature().volatility == Volatility::Immutable)
        .map(|f| f.name().to_string())
        .collect();
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use yagura_event::Kind;
    use yagura_event::rows::{MessageBuilder, MessageRow};

    fn rows() -> RecordBatch {
        let mut builder = MessageBuilder::default();
        for (operation, function, value) in [
            ("write", "write_single_register", Some(7.0)),
            ("read", "read_coils", None),
            ("control", "S2F41", None),
        ] {
            builder.push(&MessageRow {
                operation,
                function,
                value,
                protocol: "modbus",
                ..Default::default()
            });
        }
        builder.finish()
    }

    fn selected(sql: &str) -> Vec<bool> {
        let condition = SqlCompiler::default().compile(Kind::Message, sql).expect(sql);
        let mask = condition.select(&rows()).expect(sql);
        mask.iter().map(|v| v.unwrap_or(false)).collect()
    }

    fn complaint(sql: &str) -> ConditionError {
        match SqlCompiler::default().compile(Kind::Message, sql) {
            Ok(_) => panic!("{sql} was accepted"),
            Err(e) => e,
        }
    }

    #[test]
    fn conditions_select_rows() {
        assert_eq!(selected("operation = 'write'"), [true, false, false]);
        assert_eq!(
            selected("operation IN ('write', 'control') AND function LIKE 'S2%'"),
            [false, false, true]
        );
        assert_eq!(selected("value > 5"), [true, false, false]);
        assert_eq!(selected("value IS NULL AND upper(operation) = 'READ'"), [false, true, false]);
        assert_eq!(selected("regexp_like(function, '^write_')"), [true, false, false]);
    }

    #[test]
    fn required_words_come_from_the_conjunction_alone() {
        let compiler = SqlCompiler::default();
        let of = |sql: &str| compiler.compile(Kind::Message, sql).expect(sql).required().to_vec();
        assert_eq!(
            of("protocol = 'hsms' AND operation IN ('write', 'control') AND value > 1"),
            [
                ("protocol".to_string(), vec!["hsms".to_string()]),
                ("operation".to_string(), vec!["write".to_string(), "control".to_string()]),
            ]
        );
        assert_eq!(of("protocol = 'hsms' OR operation = 'write'"), []);
        assert_eq!(of("operation <> 'write'"), []);
    }

    #[test]
    fn columns_are_all_that_a_condition_looks_at() {
        let compiler = SqlCompiler::default();
        let of = |sql: &str| compiler.compile(Kind::Message, sql).expect(sql).columns().map(<[_]>::to_vec);
        let sql = "operation = 'write' AND (value > count OR upper(tool) LIKE 'E%') AND operation <> 'x'";
        assert_eq!(of(sql), Some(["count", "operation", "tool", "value"].map(String::from).to_vec()));
        assert_eq!(of("true"), Some(Vec::new()));
    }

    #[test]
    fn mistakes_are_explained_with_their_place() {
        let unknown = complaint("operation = 'write' AND\n  opperation = 'x'");
        assert_eq!(unknown.at, Some((2, 3)));
        assert!(
            unknown.message.contains("`opperation` is no column of message; there are: time, observed"),
            "{unknown}"
        );
        let broken = complaint("operation = = 'write'");
        assert_eq!(broken.at, Some((1, 13)), "{broken}");
        assert!(complaint("operation").message.contains("not a condition"));
        assert!(complaint("now() > time").message.contains("replay"));
        assert!(complaint("random() > 0.5").message.contains("another answer"));
        assert!(complaint("count(*) > 3").message.contains("aggregate"));
        assert!(complaint("nosuch(operation) = 'x'").message.contains("nosuch"));
        assert!(complaint("value > 'abc'").message.len() > 10);
    }

    #[test]
    fn functions_are_deterministic_ones() {
        let names = functions();
        assert!(names.contains(&"regexp_like".to_string()));
        assert!(!names.contains(&"now".to_string()) && !names.contains(&"random".to_string()));
    }
}
